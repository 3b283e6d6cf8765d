"""The forecast before submitting: which jobs are still to run, what they take, how fast, and the page that says so."""
