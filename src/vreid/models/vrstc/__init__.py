"""VRSTC (Hou et al., CVPR 2019): occluded regions are found, and completed from the frame and its neighbours."""
