"""Every error that Osler raises on purpose.

    OslerError
    ├── InputError            a file or value from outside cannot be used
    │   ├── UnreadableError   damaged, empty, truncated, or not what its content claims
    │   ├── UnsupportedError  a sound file of a kind (or with a feature) that is not read
    │   ├── TooLargeError     would decode to more than the limit allows
    │   ├── GeometryError     position, spacing or orientation cannot be trusted
    │   └── WeightsError      a checkpoint does not fit the network
    ├── OutputError           a result cannot be written
    ├── BundleError           a model bundle is damaged, unsafe or of an unknown version
    ├── RecipeError           a recipe, cohort or option is wrong
    └── MissingExtraError     an optional package is not installed

A message names the thing (file, tag, argument), its value, and the way out. It never holds
patient data: names, identifiers and dates of birth stay out of messages.
"""


class OslerError(Exception):
    """Base of all errors raised on purpose."""


class InputError(OslerError):
    """A file or value from outside cannot be used."""


class UnreadableError(InputError):
    """The content is damaged, empty, truncated, or not what it claims to be."""


class UnsupportedError(InputError):
    """The content is sound but of a kind that is not read."""


class TooLargeError(InputError):
    """The content would decode to more than the limit allows."""


class GeometryError(InputError):
    """Position, spacing or orientation cannot be trusted."""


class WeightsError(InputError):
    """A checkpoint is sound but does not fit the network."""


class OutputError(OslerError):
    """A result cannot be written."""


class BundleError(OslerError):
    """A model bundle is damaged, unsafe or of an unknown schema version."""


class RecipeError(OslerError):
    """A recipe, cohort or option is wrong."""


class MissingExtraError(OslerError):
    """An optional package is not installed.

    Args:
        package: the package that could not be imported.
        extra: the extra of ``osler`` that brings it.
        purpose: what it was wanted for, as it fits after "to".
    """

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(
            f"'{package}' is not installed; to {purpose}, run: pip install 'osler[{extra}]'"
        )
