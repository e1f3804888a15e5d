"""Entries as keys of etcd."""

from kvwrap.stores.etcd.store import EtcdStore

__all__ = ["EtcdStore"]
