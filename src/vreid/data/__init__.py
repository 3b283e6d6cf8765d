"""From a dataset's layout on disk to clips of frames: the tracklet table, its attributes, its images."""
