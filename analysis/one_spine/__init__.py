"""What does somebody see who tries a single spine? A page that loads nothing, an answer in HTML.

`page` is the page itself and what it says when something is refused, `answer` what was measured,
made of pictures (`viewer`), plots (`charts`) and sentences (`words`). Values in, text out: nothing
here reads a file of the study or knows of a server.
"""
