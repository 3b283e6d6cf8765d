"""Networks: the trunk, the streams, and one file a method."""
