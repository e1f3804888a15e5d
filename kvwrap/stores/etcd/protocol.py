"""The calls of etcd's API that the store uses, and their messages."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from kvwrap.core.optional import need

CALLS: Final = {
    "Range": ("KV", "RangeRequest", "RangeResponse"),
    "Put": ("KV", "PutRequest", "PutResponse"),
    "DeleteRange": ("KV", "DeleteRangeRequest", "DeleteRangeResponse"),
    "Txn": ("KV", "TxnRequest", "TxnResponse"),
    "LeaseGrant": ("Lease", "LeaseGrantRequest", "LeaseGrantResponse"),
    "Authenticate": ("Auth", "AuthenticateRequest", "AuthenticateResponse"),
}
"""The service, the request and the response of each call."""

COMPARE_REVISION: Final = 2
"""The target of a comparison with the revision of a key's last change; 0 if it does not exist."""
COMPARE_LEASE: Final = 4
"""The target of a comparison with a key's lease; 0 for none. Of a range, it is one of all keys."""

_PACKAGE: Final = "etcdserverpb"
# The fields that are used, with the numbers of etcd's rpc.proto and kv.proto. Enumerations are
# integers on the wire.
_MESSAGES: Final = {
    "ResponseHeader": "uint64 cluster_id = 1, int64 revision = 3",
    "KeyValue": "bytes key = 1, int64 mod_revision = 3, bytes value = 5, int64 lease = 6",
    "RangeRequest": "bytes key = 1, bytes range_end = 2, int64 limit = 3, int64 revision = 4, "
    "bool keys_only = 8",
    "RangeResponse": "ResponseHeader header = 1, KeyValue* kvs = 2, bool more = 3",
    "PutRequest": "bytes key = 1, bytes value = 2, int64 lease = 3",
    "PutResponse": "ResponseHeader header = 1",
    "DeleteRangeRequest": "bytes key = 1, bytes range_end = 2, bool prev_kv = 3",
    "DeleteRangeResponse": "int64 deleted = 2, KeyValue* prev_kvs = 3",
    "RequestOp": "RangeRequest request_range = 1, PutRequest request_put = 2, "
    "DeleteRangeRequest request_delete_range = 3, TxnRequest request_txn = 4",
    "ResponseOp": "RangeResponse response_range = 1, PutResponse response_put = 2, "
    "DeleteRangeResponse response_delete_range = 3, TxnResponse response_txn = 4",
    "Compare": "int32 target = 2, bytes key = 3, int64 mod_revision = 6, bytes range_end = 64",
    "TxnRequest": "Compare* compare = 1, RequestOp* success = 2, RequestOp* failure = 3",
    "TxnResponse": "bool succeeded = 2, ResponseOp* responses = 3",
    "LeaseGrantRequest": "int64 TTL = 1",
    "LeaseGrantResponse": "int64 ID = 2, int64 TTL = 3",
    "WatchRequest": "WatchCreateRequest create_request = 1, "
    "WatchProgressRequest progress_request = 3",
    "WatchCreateRequest": "bytes key = 1, bytes range_end = 2, int64 start_revision = 3",
    "WatchProgressRequest": "",
    "WatchResponse": "ResponseHeader header = 1, bool canceled = 4, Event* events = 11",
    "Event": "int32 type = 1, KeyValue kv = 2",
    "AuthenticateRequest": "string name = 1, string password = 2",
    "AuthenticateResponse": "string token = 2",
}


def driver(module: str = "grpclib") -> Any:
    """Import a module of the packages that speak with etcd."""
    need("grpclib", extra="etcd", wanted_by="EtcdStore")
    return need(module, extra="etcd", wanted_by="EtcdStore")


@cache
def messages() -> Any:
    """Return the classes of the messages, as attributes by their names."""
    descriptors = driver("google.protobuf.descriptor_pb2")
    field_type = descriptors.FieldDescriptorProto
    file = descriptors.FileDescriptorProto(name="kvwrap/etcd", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in filter(None, fields.split(", ")):
            kind, field_name, _, number = field.split()
            added = message.field.add(name=field_name, number=int(number))
            is_repeated, kind = kind.endswith("*"), kind.rstrip("*")
            added.label = field_type.LABEL_REPEATED if is_repeated else field_type.LABEL_OPTIONAL
            if kind in _MESSAGES:
                added.type, added.type_name = field_type.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                added.type = getattr(field_type, f"TYPE_{kind.upper()}")
    # A pool of its own: other packages have definitions of the same names.
    pool = driver("google.protobuf.descriptor_pool").DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    make = driver("google.protobuf.message_factory").GetMessageClass
    found = {name: make(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES}
    return type("Messages", (), found)
