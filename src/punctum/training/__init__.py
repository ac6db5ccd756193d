"""The inside of `punctum.train`: what Lightning is given."""
