"""placeholder"""

from lamstore.study import Study


def write_report(study: Study):
    study.report_path.write_text("x")
    return study.report_path
