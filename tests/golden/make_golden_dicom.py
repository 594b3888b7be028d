"""DICOM files of a few small frames, and what pydicom makes of them: tests/golden/dicom/*.dcm and *.rgb (test_dicom.c).

    pip install pydicom numpy imagecodecs pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pylibjpeg-rle pyjpegls
    python make_golden_dicom.py

The frames are 24x16, so that a square of 16 is cut out of their middle and nothing is scaled: every level must be pydicom's own,
to a rounding; but lossy JPEG, whose decoders may round the cosine transform otherwise, by a level of Y, Cb, Cr: three of blue.
"""
import os

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut, convert_color_space, apply_color_lut
from pydicom.sequence import Sequence
from pydicom.uid import (ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit,
                         JPEGLosslessSV1, JPEGLSLossless, RLELossless)

W, H, S = 24, 16, 16
here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dicom")
os.makedirs(here, exist_ok=True)
table = []


def gradient(frames, channels, top, chroma=1):
    """Smooth, and different in every frame, channel and corner"""
    f, y, x = np.meshgrid(np.arange(frames), np.arange(H), np.arange(W), indexing="ij")
    planes = [((x * (3 + c) + y * (7 - 2 * c) + f * 11 + 13 * c) % 97 if chroma else x * (2 + c) + y * (4 - c) + f * 5 + 20 * c)
              for c in range(channels)]
    p = np.stack(planes, -1).astype(np.float64)
    return np.rint(p / p.max() * top).astype(np.uint16 if top > 255 else np.uint8)


def new(frames, colour, samples, allocated, stored, syntax, signed=False):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"  # ultrasound, multi-frame
    meta.MediaStorageSOPInstanceUID = "2.25.1"
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = "2.25.2"
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.PatientName, ds.PatientID, ds.StudyInstanceUID = "Secret^Person", "SECRET77", "2.25.3"
    ds.Manufacturer, ds.ManufacturerModelName = "Maker", "Model 1"
    ds.Rows, ds.Columns, ds.NumberOfFrames = H, W, frames
    ds.PhotometricInterpretation, ds.SamplesPerPixel = colour, samples
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = allocated, stored, stored - 1, int(signed)
    if samples == 3:
        ds.PlanarConfiguration = 0
    ds.FrameTime = 40
    ds.FrameIncrementPointer = 0x00181063
    return ds


def square(rgb):
    """(n, H, W, 3): the middle, as bytes"""
    x = (W - S) // 2
    return np.ascontiguousarray(rgb[:, :, x:x + S]).astype(np.uint8).tobytes()


def shown(ds):
    """pydicom's levels of a file that was written: (n, H, W, 3) of 0 to 255"""
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        rgb = apply_color_lut(ds.pixel_array, ds)
        return rgb >> 8 if rgb.dtype == np.uint16 else rgb
    if ds.SamplesPerPixel == 3:
        rgb = ds.pixel_array  # YBR becomes RGB
        return rgb if rgb.dtype == np.uint8 else rgb >> (ds.BitsStored - 8)
    v = apply_modality_lut(ds.pixel_array, ds)
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    low = -(1 << ds.BitsStored - 1) if ds.PixelRepresentation else 0
    low, high = low * slope + intercept, (low + (1 << ds.BitsStored) - 1) * slope + intercept
    if "VOILUTSequence" in ds:
        low, high = 0, (1 << ds.VOILUTSequence[0].LUTDescriptor[2]) - 1
    v = apply_voi_lut(v.astype(np.int32) if "VOILUTSequence" in ds else v, ds).astype(np.float64)
    grey = np.rint((v - low) / (high - low) * 255)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    return np.repeat(grey[..., None], 3, -1)


def save(name, ds, far=1, rgb=None, fps=25.0, region="", burnt=-1):
    path = os.path.join(here, name + ".dcm")
    syntax = ds.file_meta.TransferSyntaxUID
    ds = FileDataset("", ds, file_meta=ds.file_meta, preamble=b"\0" * 128)
    pydicom.dcmwrite(path, ds, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian)
    ds = pydicom.dcmread(path)
    if rgb is None:
        rgb = shown(ds)
    n = int(ds.NumberOfFrames)
    open(os.path.join(here, name + ".rgb"), "wb").write(square(np.asarray(rgb).reshape(n, H, W, 3)))
    table.append(f'{{"{name}", {n}, {far}, {fps!r}, "{region}", {burnt}}},')


def pad(data):
    return data + b"\0" * (len(data) % 2)


def native(name, ds, pixels, **more):
    ds.PixelData = pad(pixels.tobytes())
    ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
    save(name, ds, **more)


def packed(name, ds, frames, parts=1, table_of_offsets=True, **more):
    """each frame cut into `parts` fragments"""
    ds.PixelData = encapsulate([bytes(f) for f in frames], fragments_per_frame=parts, has_bot=table_of_offsets)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    save(name, ds, **more)


# ---- uncompressed ----
LE = ExplicitVRLittleEndian
native("grey8", new(3, "MONOCHROME2", 1, 8, 8, LE), gradient(3, 1, 255))
native("mono1", new(2, "MONOCHROME1", 1, 8, 8, ImplicitVRLittleEndian), gradient(2, 1, 255))
ds = new(2, "MONOCHROME2", 1, 16, 12, LE)
ds.WindowCenter, ds.WindowWidth = [1500, 100], [1200, 50]
native("grey12-window", ds, gradient(2, 1, 4095))
ds = new(2, "MONOCHROME2", 1, 8, 8, LE)
ds.WindowCenter, ds.WindowWidth = 128, 9  # so narrow that the halves of the formula show
native("grey8-narrow-window", ds, gradient(2, 1, 255))
ds = new(2, "MONOCHROME1", 1, 16, 16, ExplicitVRBigEndian)
native("grey16-big-endian", ds, gradient(2, 1, 65535).astype(">u2"))
ds, p = new(2, "MONOCHROME2", 1, 16, 12, LE), gradient(2, 1, 4095)
ds.HighBit = 15  # pydicom looks at the lower bits alone: what it makes of the same values there
native("grey12-high-bit", ds, p << 4 | 5, rgb=np.repeat(np.rint(p / 4095 * 255), 3, -1))
ds = new(2, "MONOCHROME2", 1, 16, 12, LE, signed=True)
ds.RescaleSlope, ds.RescaleIntercept, ds.WindowCenter, ds.WindowWidth = 2, -100, 300, 2500
native("grey12-signed-rescale", ds, (gradient(2, 1, 4095).astype(np.int32) - 2048).astype(np.int16))
for function in ("SIGMOID", "LINEAR_EXACT"):
    ds = new(1, "MONOCHROME2", 1, 16, 10, LE)
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = 500, 400, function
    native("grey10-" + function.lower(), ds, gradient(1, 1, 1023))
ds = new(2, "MONOCHROME2", 1, 16, 10, LE)
lut = Dataset()
lut.LUTDescriptor = [800, 100, 12]
lut["LUTDescriptor"].VR = "US"
lut.LUTData = [int(4095 * (i / 799) ** 0.5) for i in range(800)]
lut["LUTData"].VR = "US"
ds.VOILUTSequence = Sequence([lut])
ds.WindowCenter, ds.WindowWidth = 10, 10  # the LUT goes first
native("grey10-voi-lut", ds, gradient(2, 1, 1023))
for planar in (0, 1):
    ds, p = new(2, "RGB", 3, 8, 8, LE), gradient(2, 3, 255)
    ds.PlanarConfiguration = planar
    native(f"rgb-planar{planar}", ds, p.transpose(0, 3, 1, 2).copy() if planar else p)
native("ybr-full", new(2, "YBR_FULL", 3, 8, 8, LE), gradient(2, 3, 255))
ds, p = new(2, "YBR_FULL_422", 3, 8, 8, LE), gradient(2, 3, 255)
q = np.empty((2, H, W // 2, 4), np.uint8)
q[..., 0], q[..., 1], q[..., 2], q[..., 3] = p[:, :, 0::2, 0], p[:, :, 1::2, 0], p[:, :, 0::2, 1], p[:, :, 0::2, 2]
native("ybr-full-422", ds, q)
ds = new(2, "PALETTE COLOR", 1, 8, 8, LE)
for i, c in enumerate(("Red", "Green", "Blue")):
    setattr(ds, c + "PaletteColorLookupTableDescriptor", [200, 10, 16])
    ds[c + "PaletteColorLookupTableDescriptor"].VR = "US"
    setattr(ds, c + "PaletteColorLookupTableData", np.array([(k * (31 + 7 * i) * 257) % 65536 for k in range(200)], "<u2").tobytes())
    ds[c + "PaletteColorLookupTableData"].VR = "OW"
native("palette", ds, gradient(2, 1, 255))

# ---- compressed ----
p = gradient(3, 3, 255)
ds = new(3, "RGB", 3, 8, 8, LE)
ds.PixelData = p.tobytes()
ds.compress(RLELossless, p.squeeze(), generate_instance_uid=False)
save("rle-rgb", ds)
p = gradient(2, 1, 4095)
ds = new(2, "MONOCHROME2", 1, 16, 12, LE)
ds.PixelData = p.tobytes()
ds.compress(RLELossless, p.squeeze(), generate_instance_uid=False)
save("rle-grey12", ds)
p = gradient(3, 3, 255, chroma=0)
for name, sampling in (("444", "444"), ("422", "422")):
    ds = new(3, "YBR_FULL" if name == "444" else "YBR_FULL_422", 3, 8, 8, JPEGBaseline8Bit)
    frames = [imagecodecs.jpeg8_encode(f, level=95, colorspace="RGB", outcolorspace="YCbCr", subsampling=sampling) for f in p]
    packed("jpeg-" + name, ds, frames, far=3)
packed("jpeg-fragments", new(3, "YBR_FULL_422", 3, 8, 8, JPEGBaseline8Bit), frames, parts=2, far=3)
packed("jpeg-fragments-no-table", new(3, "YBR_FULL_422", 3, 8, 8, JPEGBaseline8Bit), frames, parts=2, table_of_offsets=False, far=3)
# a JFIF stream is YCbCr, whatever the header says
packed("jpeg-says-rgb", new(3, "RGB", 3, 8, 8, JPEGBaseline8Bit), frames, far=3)
packed("jpeg-grey", new(2, "MONOCHROME2", 1, 8, 8, JPEGBaseline8Bit), [imagecodecs.jpeg8_encode(f[..., 0].copy().copy(), level=95) for f in p[:2]], far=2)
packed("jpeg-lossless", new(2, "MONOCHROME2", 1, 16, 12, JPEGLosslessSV1),
       [imagecodecs.ljpeg_encode(f[..., 0].copy(), bitspersample=12) for f in gradient(2, 1, 4095)])
packed("jpeg-ls-rgb", new(2, "RGB", 3, 8, 8, JPEGLSLossless), [imagecodecs.jpegls_encode(f) for f in gradient(2, 3, 255)])
packed("jpeg-ls-grey16", new(2, "MONOCHROME2", 1, 16, 16, JPEGLSLossless), [imagecodecs.jpegls_encode(f[..., 0].copy()) for f in gradient(2, 1, 65535)])
j2k = dict(codecformat="J2K", level=0, reversible=True)
packed("jpeg2000-rct", new(2, "YBR_RCT", 3, 8, 8, JPEG2000Lossless), [imagecodecs.jpeg2k_encode(f, mct=True, **j2k) for f in gradient(2, 3, 255)])
packed("jpeg2000-rgb", new(2, "RGB", 3, 8, 8, JPEG2000Lossless), [imagecodecs.jpeg2k_encode(f, mct=False, **j2k) for f in gradient(2, 3, 255)])
packed("jpeg2000-grey12", new(2, "MONOCHROME2", 1, 16, 12, JPEG2000Lossless),
       [imagecodecs.jpeg2k_encode(f[..., 0].copy(), bitspersample=12, **j2k) for f in gradient(2, 1, 4095)])
packed("jpeg2000-lossy", new(2, "YBR_ICT", 3, 8, 8, JPEG2000),
       [imagecodecs.jpeg2k_encode(f, codecformat="J2K", level=45, reversible=False, mct=True) for f in gradient(2, 3, 255)])

# ---- times, regions, text ----
ds = new(4, "MONOCHROME2", 1, 8, 8, LE)
del ds.FrameTime
ds.FrameTimeVector = [0, 20, 60, 100]
ds.FrameIncrementPointer = 0x00181065
ds.BurnedInAnnotation = "YES"
native("times", ds, gradient(4, 1, 255), fps=3 / 0.18, burnt=1)
ds = new(2, "MONOCHROME2", 1, 8, 8, LE)
del ds.FrameTime, ds.FrameIncrementPointer
ds.BurnedInAnnotation = "NO"
items = []
for form, x0, y0, x1, y1 in ((1, 2, 3, 9, 9), (1, 4, 0, 19, 15), (1, 0, 0, 3, 3), (3, 0, 0, 23, 15)):  # three pictures, and a spectrum
    r = Dataset()
    r.RegionSpatialFormat, r.RegionDataType, r.RegionFlags = form, 1, 0
    r.RegionLocationMinX0, r.RegionLocationMinY0, r.RegionLocationMaxX1, r.RegionLocationMaxY1 = x0, y0, x1, y1
    r.PhysicalUnitsXDirection = r.PhysicalUnitsYDirection = 3
    r.PhysicalDeltaX = r.PhysicalDeltaY = 0.01
    items.append(r)
ds.SequenceOfUltrasoundRegions = Sequence(items)
native("region", ds, gradient(2, 1, 255), fps=0.0, region="4,0,16,16", burnt=0)
# a window of its own for each frame, in functional groups
ds = new(2, "MONOCHROME2", 1, 16, 12, LE)
groups = []
for centre in (1000, 3000):
    g, w = Dataset(), Dataset()
    w.WindowCenter, w.WindowWidth = centre, 1000
    g.FrameVOILUTSequence = Sequence([w])
    groups.append(g)
ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
p = gradient(2, 1, 4095)
rows = []
for f, centre in zip(p[..., 0], (1000, 3000)):
    one = Dataset()
    one.WindowCenter, one.WindowWidth, one.PixelRepresentation, one.BitsStored = centre, 1000, 0, 12
    one.PhotometricInterpretation = "MONOCHROME2"
    rows.append(np.rint(apply_voi_lut(f, one) / 4095 * 255))
native("windows-of-frames", ds, p, rgb=np.repeat(np.stack(rows)[..., None], 3, -1))

open(os.path.join(here, "golden.inc"), "w").write("\n".join(table) + "\n")
total = sum(os.path.getsize(os.path.join(here, f)) for f in os.listdir(here))
print(len(table), "files,", total, "bytes")
