//! The head of a request: path, query, and the headers that choose a format.

use apiserver::request::{Query, RequestInfo};
use codec::{Accept, MediaType, Transform};

use super::{USUAL, halves, joined};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "requests",
    seeds: || {
        let targets = [
            "/api/v1/namespaces/a%2Fb/pods/x/proxy/a/b/?watch=1&labelSelector=a%3Db+c&limit=5&command=a&command=b",
            "/apis/apps/v1/watch/namespaces/default/deployments/web/status",
            "/healthz?verbose",
        ];
        let headers = [
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/vnd.kubernetes.protobuf;q=0.5,*/*;q=0.1",
            "application/cbor-seq, application/yaml; charset=utf-8",
        ];
        targets.iter().flat_map(|t| headers.iter().map(move |h| joined(t, h))).collect()
    },
    words: &[
        "/api/v1/",
        "/apis/",
        "namespaces/",
        "%2",
        "%zz",
        "%C3%28",
        "?",
        "&",
        "watch=true",
        ";q=",
        "NaN",
        "as=Table",
        "*/*",
    ],
    input_bytes_max: 4096,
    run,
    ..USUAL
};

fn run(input: &[u8]) {
    let (target, header) = halves(input);
    let (Ok(target), Ok(header)) = (std::str::from_utf8(target), std::str::from_utf8(header))
    else {
        return;
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = Query::parse(query);
    for method in [http::Method::GET, http::Method::POST, http::Method::PATCH, http::Method::DELETE]
    {
        let _info = RequestInfo::parse(&method, path, &query);
    }
    let _media = MediaType::from_content_type(Some(header));
    let _accept = Accept::negotiate(Some(header), Transform::is_offered);
}
