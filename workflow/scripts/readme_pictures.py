"""The README's pictures, from the results of `snakemake`: `python workflow/scripts/readme_pictures.py`."""

from pathlib import Path

from PIL import Image

RESULTS = Path("results/figures")
OUT = Path("workflow/report/pictures")


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    sheet = Image.open(RESULTS / "contact-synth-mars.png").convert("RGB")
    half = sheet.height // 2
    page = Image.new("RGB", (2 * sheet.width, half), sheet.getpixel((0, 0)))
    page.paste(sheet.crop((0, 0, sheet.width, half)), (0, 0))
    page.paste(sheet.crop((0, half, sheet.width, 2 * half)), (sheet.width, 0))
    page.resize((page.width * 3 // 4, page.height * 3 // 4)).save(OUT / "synth-mars.webp", quality=80)
    curves = Image.open(RESULTS / "fig7.png").convert("RGB")
    curves.resize((curves.width * 2 // 3, curves.height * 2 // 3)).save(OUT / "fig7.webp", quality=85)


if __name__ == "__main__":
    main()
