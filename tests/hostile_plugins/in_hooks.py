"""Raises in every hook."""

from automl_fuse import hookimpl


def refuse():
    raise RuntimeError("not today")


@hookimpl
def automl_fuse_learners():
    return refuse()


@hookimpl
def automl_fuse_encoders():
    return refuse()


@hookimpl
def automl_fuse_metrics():
    return refuse()


@hookimpl
def automl_fuse_fusions():
    return refuse()


@hookimpl
def automl_fuse_compressors():
    return refuse()


@hookimpl
def automl_fuse_executors():
    return refuse()


@hookimpl
def automl_fuse_observers():
    return refuse()
