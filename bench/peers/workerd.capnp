# workerd with two services: the Durable Object of workerd_bucket.js, and the bare worker. Addresses
# and the directory for the objects' state are given on the command line.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "bucket", worker = .bucketWorker),
    (name = "bare", worker = .bareWorker),
    (name = "state", disk = (writable = true)),
  ],
  sockets = [
    (name = "bucket", http = (), service = "bucket"),
    (name = "bare", http = (), service = "bare"),
  ],
);

const bucketWorker :Workerd.Worker = (
  modules = [(name = "workerd_bucket.js", esModule = embed "workerd_bucket.js")],
  compatibilityDate = "2025-01-01",
  durableObjectNamespaces = [(className = "Bucket", uniqueKey = "sluice-bench-bucket", enableSql = true)],
  durableObjectStorage = (localDisk = "state"),
  bindings = [(name = "BUCKETS", durableObjectNamespace = "Bucket")],
);

const bareWorker :Workerd.Worker = (
  modules = [(name = "workerd_bare.js", esModule = embed "workerd_bare.js")],
  compatibilityDate = "2025-01-01",
);
