"""Made pictures: pixels kept, metadata gone, names by content."""

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from adapt import made
from adapt.errors import DataError


def encode(picture: Image.Image, kind: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **settings)
    return buffer.getvalue()


@pytest.fixture
def picture() -> Image.Image:
    return Image.effect_noise((40, 30), 60).convert("RGB")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_loses_its_metadata_and_no_pixel(tmp_path: Path, picture: Image.Image, mode: str, progressive: bool) -> None:
    """EXIF and comments go; Pillow decodes the same pixels before and after."""
    exif = Image.Exif()
    exif[0x013B] = "Jane Doe"
    content = encode(picture.convert(mode), "JPEG", exif=exif, comment=b"ward 7", progressive=progressive)
    assert b"Jane Doe" in content and b"ward 7" in content
    path = tmp_path / made.write_encoded(tmp_path, content, "here")
    assert b"Jane Doe" not in path.read_bytes() and b"ward 7" not in path.read_bytes()
    assert Image.open(path).tobytes() == Image.open(io.BytesIO(content)).tobytes()
    assert len(Image.open(path).getexif()) == 0


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "1"])
def test_png_loses_its_metadata_and_no_pixel(tmp_path: Path, picture: Image.Image, mode: str) -> None:
    """Text chunks go; the pixels stay, palette included."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", "Jane Doe")
    content = encode(picture.convert(mode), "PNG", pnginfo=text)
    path = tmp_path / made.write_encoded(tmp_path, content, "here")
    assert b"Jane Doe" in content and b"Jane Doe" not in path.read_bytes()
    assert Image.open(path).convert("RGB").tobytes() == Image.open(io.BytesIO(content)).convert("RGB").tobytes()


def test_other_formats_become_png(tmp_path: Path, picture: Image.Image) -> None:
    """A TIFF is stored without loss as PNG."""
    path = tmp_path / made.write_encoded(tmp_path, encode(picture, "TIFF"), "here")
    assert path.suffix == ".png" and Image.open(path).tobytes() == picture.tobytes()


def test_names_follow_content(tmp_path: Path, picture: Image.Image) -> None:
    """Equal content is one file, and no half-written file stays."""
    content = encode(picture, "TIFF")
    names = {made.write_encoded(tmp_path, content, "here"), made.write_encoded(tmp_path, content, "there")}
    assert names == {path.name for path in tmp_path.iterdir()} == made.names(tmp_path)
    assert made.write_encoded(tmp_path, encode(picture.rotate(180), "TIFF"), "here") not in names


def test_damaged_bytes_are_refused(tmp_path: Path, picture: Image.Image) -> None:
    """Cut pictures are refused at the place named, and leave nothing."""
    for kind in ("JPEG", "PNG"):
        content = encode(picture, kind)
        with pytest.raises(DataError, match="^row 7: "):
            made.write_encoded(tmp_path, content[: len(content) // 2], "row 7")
    assert not list(tmp_path.iterdir())


def test_only_what_was_made_is_taken_away(tmp_path: Path, picture: Image.Image) -> None:
    """A picture of the user's whose name looks like a made one (data sets name files by md5) stays; a made one goes."""
    name = made.write_picture(tmp_path, picture)
    own = tmp_path / f"{hashlib.md5(b'1').hexdigest()}.png"
    own.write_bytes((tmp_path / name).read_bytes())
    assert made.names(tmp_path) == {name, own.name}
    made.remove(tmp_path, made.names(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [own.name]


def test_what_a_power_cut_left_is_written_again(tmp_path: Path, picture: Image.Image) -> None:
    """A made picture that was cut off is not taken for whole because of its name."""
    name = made.write_picture(tmp_path, picture)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:10])
    assert made.write_picture(tmp_path, picture) == name and (tmp_path / name).read_bytes() == whole
