"""What a configuration asks for: runs, datasets, what tables and figures are made of; and what is wrong with it.

The rules of the workflow ask these modules, which know nothing of Snakemake.
"""
