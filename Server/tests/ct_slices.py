"""DICOM slices of a CT as a scanner writes them."""

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def write_slices(
    folder,
    array,
    spacing=(0.8, 0.9, 2.5),
    series=None,
    skip=(),
    shift=0.0,
    syntax=ExplicitVRLittleEndian,
    intercept=-1000,
    change=lambda _dataset, _k: None,
):
    """Write a CT series, a file for each k of an array (I, J, K), and return its folder.

    Args:
        folder: is made where it is not there.
        array: int16.
        spacing: mm.
        series: its UID; None for a new one.
        skip: slices that are missing.
        shift: mm along y from slice to slice, as where the gantry is tilted.
        syntax: transfer syntax.
        intercept: what is subtracted before the values are stored.
        change: called with each dataset and its k before it is written.
    """
    folder.mkdir(exist_ok=True)
    series = series or generate_uid()
    for k in range(array.shape[2]):
        if k in skip:
            continue
        ds = pydicom.Dataset()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = syntax
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
        ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.Modality = series, "1.2.3", "CT"
        ds.PatientName, ds.PatientID = "Doe^Jane", "12345"
        ds.ImagePositionPatient = [-10.0, -20.0 + shift * k, 30.0 + spacing[2] * k]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing = [spacing[1], spacing[0]]
        ds.SliceThickness = spacing[2]
        ds.Rows, ds.Columns = array.shape[1], array.shape[0]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 1
        ds.RescaleSlope, ds.RescaleIntercept, ds.InstanceNumber = 1, intercept, k + 1
        ds.PixelData = np.ascontiguousarray(array[:, :, k].T - np.int16(intercept)).tobytes()
        change(ds, k)
        ds.save_as(folder / f"{generate_uid()}.dcm", enforce_file_format=True)
    return folder
