"""Find images and decode them: from any kind of image to uint8 pixels, or a `BadImage` that says why not.

`find` lists files, `source` reads what a user calls an image, `header` opens it and `decode` decodes it. `png` and
`jpeg` handle what is special about these formats. `deep` reads 16-bit values, `bit_depth` finds how many bits they use.
`metadata` says how a file was made. `encode` writes them into pages. Nothing else in the package decodes an image.
"""

from classicnets.images.bit_depth import bit_depth_note, bit_depth_of, data_bit_depth
from classicnets.images.decode import image_size, read_image, read_pixels
from classicnets.images.encode import image_uri, png_uri, recompressed, svg_uri, thumbnail_uri
from classicnets.images.find import IMAGE_SUFFIXES, find_files, find_images, is_hidden, is_image
from classicnets.images.header import is_jpeg_file, reduction_to, within_limit
from classicnets.images.metadata import Metadata, read_metadata
from classicnets.images.source import (
    MAX_PIXELS,
    MAX_PIXELS_VARIABLE,
    ImageSource,
    as_array,
    is_tensor,
    name_of,
    pixel_limit,
    read_bytes,
    read_state,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "MAX_PIXELS_VARIABLE",
    "ImageSource",
    "Metadata",
    "as_array",
    "bit_depth_note",
    "bit_depth_of",
    "data_bit_depth",
    "find_files",
    "find_images",
    "image_size",
    "image_uri",
    "is_hidden",
    "is_image",
    "is_jpeg_file",
    "is_tensor",
    "name_of",
    "pixel_limit",
    "png_uri",
    "read_bytes",
    "read_image",
    "read_metadata",
    "read_pixels",
    "read_state",
    "recompressed",
    "reduction_to",
    "svg_uri",
    "thumbnail_uri",
    "within_limit",
]
