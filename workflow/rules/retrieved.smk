# Which runs the retrieval gallery compares.


def gallery(key):
    """An entry of the gallery; its dataset is named even where an overlay takes the figure away, so that rules stand."""
    return config["figures"].get("gallery", {}).get(key, "none")


def gallery_features(w):
    return [f"{run}/{gallery('test')}/features.npz" for run in figure_runs("gallery")]
