"""A collection without the registry's files, such as of a registry on a bucket.

The API lists no manifest without a tag; the registry's own collector does, when it is only asked what it would do. By
that listing manifests are deleted over the API. Their blobs go when that collector runs while nothing is pushed.
"""
