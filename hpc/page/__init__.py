"""How does somebody try one study in a browser? A small server on this machine, `lam try-spine`.

`guard` says who may ask, `parcels` brings files to disk, `looker` keeps the process that looks at
them and survives its death, `look` is what that process does, `server` ties them together.
"""
