"""A collector of traces and logs by gRPC, of grpcio and OpenTelemetry's own Python: it prints what it is told as JSON, one line for each span and record.

    receiver.py    says where it listens, and takes what comes until it is killed
"""

import json
import sys
from concurrent import futures

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


def attributes(pairs):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def tell(kind, resource, scope, item):
    told = {
        "kind": kind,
        "resource": attributes(resource.attributes),
        "scope": scope.name,
        "trace": item.trace_id.hex(),
        "span": item.span_id.hex(),
        "attributes": attributes(item.attributes),
        # All of it, as protobuf has it in JSON: what is malformed does not come so far.
        "whole": MessageToDict(item),
    }
    print(json.dumps(told), flush=True)


class Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        for of_resource in request.resource_spans:
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    tell("span", of_resource.resource, of_scope.scope, span)
        return trace_service_pb2.ExportTraceServiceResponse()


class Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def Export(self, request, context):
        for of_resource in request.resource_logs:
            for of_scope in of_resource.scope_logs:
                for record in of_scope.log_records:
                    tell("record", of_resource.resource, of_scope.scope, record)
        return logs_service_pb2.ExportLogsServiceResponse()


def main():
    # One at a time: lines do not mix.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Logs(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening on 127.0.0.1:{port} (--otlp)", file=sys.stderr, flush=True)
    server.wait_for_termination()


main()
