"""Stands for Slicer's SampleData module: remembers what was registered."""

from typing import ClassVar


class SampleDataLogic:
    """Registered sources and categories."""

    sources: ClassVar[list] = []
    categories: ClassVar[dict] = {}

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileType=None,
        loadFiles=None,
        loadFileProperties=None,
        checksums=None,
    ):
        given = {name: value for name, value in locals().items() if value is not None}
        SampleDataLogic.sources.append(given)

    @staticmethod
    def registerCustomSampleDataCategory(name, title=None):
        SampleDataLogic.categories[name] = title
