"""The rendered benchmark: who walks where, how a frame looks, into which layout."""
