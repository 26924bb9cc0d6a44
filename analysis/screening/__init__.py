"""Who has a transitional vertebra, judged by how unsure a level localizer is?

`screen` reads a localizer's measures from a study, joins labels and says how well each measure
tells normals from transitional spines; `write_spine_report` does what can be done without labels.
"""

from analysis.screening.write import screen, write_spine_report

__all__ = ["screen", "write_spine_report"]
