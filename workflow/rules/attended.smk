# Which run Fig. 6 looks into.


def fig6(key):
    """An entry of Fig. 6; its dataset is named even where an overlay takes the figure away, so that rules stand."""
    return config["figures"].get("fig6", {}).get(key, "none")


def fig6_files(name):
    path = f"{RUN}/{{dataset}}/{name}"
    return path.format(train=fig6("train"), model=fig6("model"), seed=fig6("seed"), dataset=fig6("train"))


def fig6_cells(w):
    """What the target takes of the maps' cells, which is known of rendered datasets as they were rendered."""
    return fig6_files("cells.npz") if "render" in DATASETS[fig6("train")] else []
