"""Small PDF files written by hand, with text at given places, so that a test knows what is on a page."""

import zlib

WIDTH, HEIGHT = 595, 842
REGULAR, BOLD = "F1", "F2"


def pdf(pages, kids=None, count=None, contents=None, filters="/FlateDecode"):
    """The bytes of a PDF. A page is a list of (x, y, size, text) or (x, y, size, text, font), y from below.

    Text is in Adobe's standard encoding, in which \\256 is the ligature fi. `kids`, `count` and `contents` (the
    compressed bytes of every page) replace what would be right.
    """
    numbers = [5 + 2 * index for index in range(len(pages))]
    shown = kids or " ".join(f"{number} 0 R" for number in numbers)
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: f"<< /Type /Pages /Kids [{shown}] /Count {count or len(pages)} >>".encode(),
        3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /StandardEncoding >>",
        4: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /StandardEncoding >>",
    }
    for number, page in zip(numbers, pages, strict=True):
        fonts = "<< /Font << /F1 3 0 R /F2 4 0 R >> >>"
        objects[number] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {WIDTH} {HEIGHT}] /Resources {fonts} "
            f"/Contents {number + 1} 0 R >>"
        ).encode()
        body = contents or zlib.compress("\n".join(show(*item) for item in page).encode("latin-1"))
        objects[number + 1] = f"<< /Length {len(body)} /Filter {filters} >>\nstream\n".encode() + body + b"\nendstream"
    out, places = bytearray(b"%PDF-1.4\n"), {}
    for number, content in sorted(objects.items()):
        places[number] = len(out)
        out += f"{number} 0 obj\n".encode() + content + b"\nendobj\n"
    start, size = len(out), max(objects) + 1
    out += f"xref\n0 {size}\n0000000000 65535 f \n".encode()
    for number in range(1, size):
        out += f"{places.get(number, 0):010d} 00000 {'n' if number in places else 'f'} \n".encode()
    out += f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)


def show(x, y, size, text, font=REGULAR):
    escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
    return f"BT /{font} {size} Tf {x} {y} Td ({escaped}) Tj ET"


def column(x, top, lines, size=10, leading=12):
    """Lines of one column, one below the other."""
    return [(x, top - index * leading, size, line) for index, line in enumerate(lines)]
