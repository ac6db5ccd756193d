"""A trained model as one file for other programs: crops in, coordinates in the picture's own pixels out."""
