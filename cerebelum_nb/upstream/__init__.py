"""Cerebelum's own gRPC protocol, for programs that are written for the SDK and for a Core of its makers.

The only room that imports protobuf, which is an extra: ``pip install 'cerebelum_nb[upstream]'``.
"""

from cerebelum_nb.upstream.serving import PORT, check_host, serve_upstream

__all__ = ["PORT", "check_host", "serve_upstream"]
