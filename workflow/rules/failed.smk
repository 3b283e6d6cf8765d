# What failed jobs said, once more at the end, where one looks.

LAST_LINES = 12
FAILED = re.compile(r"^    log: (.+?) \(check log file", re.M)


def failures(said):
    """The path and the last lines of every log that Snakemake names beside an error, each once."""
    for path in dict.fromkeys(path.strip() for paths in FAILED.findall(said) for path in paths.split(",")):
        try:
            lines = Path(path).read_text(errors="replace").splitlines()
        except OSError:
            continue
        yield "\n".join([f"{path} ends:", *(f"    {line}" for line in lines[-LAST_LINES:])])


onerror:
    if workflow.is_main_process:
        print(*failures(Path(log).read_text(errors="replace")), sep="\n", file=sys.stderr)
