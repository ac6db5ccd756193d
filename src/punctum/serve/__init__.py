"""A trained model behind HTTP, on this machine: pictures in, points with their trust out, and a page to try it.

What is in here needs the extra: `pip install punctum[serve]`.
"""
