"""Stands for Slicer's SampleData module: remembers what was registered."""

from typing import ClassVar


class SampleDataLogic:
    """Registered sources and categories."""

    sources: ClassVar[list] = []
    categories: ClassVar[dict] = {}

    @staticmethod
    def registerCustomSampleDataSource(**source):
        SampleDataLogic.sources.append(source)

    @staticmethod
    def registerCustomSampleDataCategory(name, title=None):
        SampleDataLogic.categories[name] = title
