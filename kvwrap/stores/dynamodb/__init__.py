"""Entries as items of a DynamoDB table."""

from kvwrap.stores.dynamodb.store import DynamoDBStore

__all__ = ["DynamoDBStore"]
