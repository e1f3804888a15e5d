"""Entries as documents of Elasticsearch or OpenSearch."""

from kvwrap.stores.elasticsearch.store import ElasticsearchStore

__all__ = ["ElasticsearchStore"]
