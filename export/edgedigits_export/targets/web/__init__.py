"""The bundle as a web page that reads digits as one draws them and proves parity in the browser.

In: a verified bundle, and optionally the LiteRT.js package. Out: a folder of static files, or one HTML file.
The page itself, HTML, CSS and JavaScript without a build step, is in ``static/``.
"""
