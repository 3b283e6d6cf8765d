"""The jobs of VRSTC before its re-ID: score the regions, train the completion network, complete the frames."""
