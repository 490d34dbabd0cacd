//! Counts requests: how many, how they ended, how long they took, how many are under way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::head;
use super::histogram::Histogram;
use crate::limits::METRIC_SERIES_MAX;
use crate::request::{Query, RequestInfo};
use crate::respond::{Answer, guarded};

/// Upstream's bounds.
const BOUNDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];
const KINDS: [&str; 2] = ["readOnly", "mutating"];

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// By the hash of the labels.
    series: RwLock<HashMap<u64, Arc<Series>>>,
    /// Read-only and mutating.
    under_way: [AtomicI64; 2],
    /// Labels of deprecated resources that were asked for.
    deprecated: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
pub(crate) struct Series {
    labels: String,
    took: Histogram<23>,
    codes: RwLock<Vec<(u16, AtomicU64)>>,
    /// Answers that go on: watches, logs.
    open: AtomicI64,
}

/// An answer that goes on.
struct Open(Arc<Series>);

impl Series {
    /// Counts an answer as going on until its body is dropped.
    pub(crate) fn open(self: Arc<Self>, answer: Answer) -> Answer {
        self.open.fetch_add(1, Ordering::Relaxed);
        guarded(answer, Open(self))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct UnderWay<'a>(&'a AtomicI64);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a request is counted under, beside its answer.
struct Labels<'a> {
    verb: &'static str,
    group: &'a str,
    version: &'a str,
    resource: &'a str,
    subresource: &'a str,
    scope: &'static str,
    dry_run: &'a str,
}

impl<'a> Labels<'a> {
    fn new(info: &'a RequestInfo, query: &'a Query, is_apply: bool) -> Self {
        let subresource = match info.is_resource {
            true => info.subresource.as_str(),
            // Paths are free text; the first segment tells the few that are served apart.
            false => known_path(&info.path),
        };
        let scope = match (info.is_resource, info.name.as_str(), info.namespace.as_str()) {
            (false, ..) => "",
            (_, "", "") => "cluster",
            (_, "", _) if info.verb != "create" => "namespace",
            _ => "resource",
        };
        Self {
            verb: verb(info, is_apply),
            group: &info.group,
            version: &info.version,
            resource: &info.resource,
            subresource,
            scope,
            dry_run: query.text("dryRun"),
        }
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.verb, self.group, self.version, self.resource).hash(&mut hasher);
        (self.subresource, self.scope, self.dry_run).hash(&mut hasher);
        hasher.finish()
    }

    fn text(&self) -> String {
        let dry_run = if self.dry_run == "All" { "All" } else { "" };
        format!(
            "component=\"apiserver\",dry_run=\"{dry_run}\",group=\"{}\",resource=\"{}\",scope=\"{}\",subresource=\"{}\",verb=\"{}\",version=\"{}\"",
            quoted(self.group),
            quoted(self.resource),
            self.scope,
            quoted(self.subresource),
            self.verb,
            quoted(self.version)
        )
    }
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn known_path(path: &str) -> &'static str {
    const KNOWN: [&str; 8] =
        ["/healthz", "/livez", "/readyz", "/version", "/metrics", "/openapi", "/apis", "/api"];
    KNOWN.into_iter().find(|known| path.starts_with(known)).unwrap_or_default()
}

/// The verb as upstream's metrics have it.
fn verb(info: &RequestInfo, is_apply: bool) -> &'static str {
    const CONNECTED: [&str; 4] = ["attach", "exec", "portforward", "proxy"];
    if info.is_resource && CONNECTED.contains(&info.subresource.as_str()) {
        return "CONNECT";
    }
    match info.verb.as_str() {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" if is_apply => "APPLY",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "head" => "HEAD",
        _ => "other",
    }
}

impl Requests {
    /// Counts a request as under way until what it returns is dropped. Watches and streams are not counted.
    pub(crate) fn begin(&self, info: &RequestInfo) -> Option<UnderWay<'_>> {
        if info.verb == "watch" || crate::fairness::is_long_running(info) {
            return None;
        }
        let reads = matches!(info.verb.as_str(), "get" | "list" | "head");
        let under_way = &self.under_way[usize::from(!reads)];
        under_way.fetch_add(1, Ordering::Relaxed);
        Some(UnderWay(under_way))
    }

    /// Counts an answer.
    pub(crate) fn answered(
        &self,
        info: &RequestInfo,
        query: &Query,
        is_apply: bool,
        code: u16,
        took: Duration,
    ) -> Option<Arc<Series>> {
        let labels = Labels::new(info, query, is_apply);
        let key = labels.hash();
        let known = self.series.read().get(&key).cloned();
        let series = known.or_else(|| self.add(key, &labels))?;
        if labels.verb != "CONNECT" {
            series.took.observe(took);
        }
        let count = |codes: &[(u16, AtomicU64)]| {
            let found = codes.iter().find(|(known, _)| *known == code);
            found.map(|(_, count)| count.fetch_add(1, Ordering::Relaxed)).is_some()
        };
        if count(&series.codes.read()) {
            return Some(series);
        }
        let mut codes = series.codes.write();
        if !count(&codes) {
            codes.push((code, AtomicU64::new(1)));
        }
        drop(codes);
        Some(series)
    }

    /// Remembers that a deprecated resource was asked for.
    pub(crate) fn deprecated(&self, info: &RequestInfo) {
        let labels = format!(
            "group=\"{}\",removed_release=\"\",resource=\"{}\",subresource=\"{}\",version=\"{}\"",
            quoted(&info.group),
            quoted(&info.resource),
            quoted(&info.subresource),
            quoted(&info.version)
        );
        let mut known = self.deprecated.lock();
        if known.len() < METRIC_SERIES_MAX {
            known.insert(labels);
        }
    }

    /// `None` when there are as many series as are kept: names come from clients.
    fn add(&self, key: u64, labels: &Labels<'_>) -> Option<Arc<Series>> {
        let mut series = self.series.write();
        if series.len() >= METRIC_SERIES_MAX {
            return None;
        }
        let new = || {
            let took = Histogram::new(&BOUNDS);
            let (labels, open) = (labels.text(), AtomicI64::new(0));
            Arc::new(Series { labels, took, codes: RwLock::default(), open })
        };
        Some(Arc::clone(series.entry(key).or_insert_with(new)))
    }

    pub(crate) fn render(&self, out: &mut String) {
        let series: BTreeMap<String, Arc<Series>> = {
            let series = self.series.read();
            series.values().map(|one| (one.labels.clone(), Arc::clone(one))).collect()
        };
        let name = "apiserver_request_total";
        head(
            out,
            name,
            "counter",
            "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
        );
        for (labels, one) in &series {
            for (code, count) in one.codes.read().iter() {
                let count = count.load(Ordering::Relaxed);
                let _written = writeln!(out, "{name}{{code=\"{code}\",{labels}}} {count}");
            }
        }
        let name = "apiserver_request_duration_seconds";
        head(
            out,
            name,
            "histogram",
            "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
        );
        for (labels, one) in &series {
            one.took.write(out, name, labels);
        }
        let name = "apiserver_longrunning_requests";
        head(
            out,
            name,
            "gauge",
            "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.",
        );
        for (labels, one) in &series {
            let open = one.open.load(Ordering::Relaxed);
            if labels.contains("verb=\"WATCH\"") || open > 0 {
                let labels = labels.replace("dry_run=\"\",", "");
                let _written = writeln!(out, "{name}{{{labels}}} {open}");
            }
        }
        let name = "apiserver_requested_deprecated_apis";
        head(
            out,
            name,
            "gauge",
            "[STABLE] Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, subresource, and removed_release.",
        );
        for labels in self.deprecated.lock().iter() {
            let _written = writeln!(out, "{name}{{{labels}}} 1");
        }
        let name = "apiserver_current_inflight_requests";
        head(
            out,
            name,
            "gauge",
            "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
        );
        for (kind, count) in KINDS.iter().zip(&self.under_way) {
            let count = count.load(Ordering::Relaxed);
            let _written = writeln!(out, "{name}{{request_kind=\"{kind}\"}} {count}");
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn line(method: Method, target: &str, is_apply: bool) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = Query::parse(query);
        let info = RequestInfo::parse(&method, path, &query);
        let labels = Labels::new(&info, &query, is_apply);
        format!("{} {} {} {}", labels.verb, labels.resource, labels.subresource, labels.scope)
    }

    #[test]
    fn requests_are_labelled_as_upstream_labels_them() {
        let pods = "/api/v1/namespaces/a/pods";
        let cases = [
            (Method::GET, "/api/v1/pods".to_owned(), false, "LIST pods  cluster"),
            (Method::GET, pods.to_owned(), false, "LIST pods  namespace"),
            (Method::GET, format!("{pods}?watch=1"), false, "WATCH pods  namespace"),
            (Method::GET, format!("{pods}/x"), false, "GET pods  resource"),
            (Method::POST, pods.to_owned(), false, "POST pods  resource"),
            (Method::POST, format!("{pods}/x/exec"), false, "CONNECT pods exec resource"),
            (Method::PATCH, format!("{pods}/x/status"), false, "PATCH pods status resource"),
            (Method::PATCH, format!("{pods}/x"), true, "APPLY pods  resource"),
            (Method::DELETE, pods.to_owned(), false, "DELETECOLLECTION pods  namespace"),
            (Method::GET, "/livez/ping".to_owned(), false, "GET  /livez "),
            (Method::GET, "/anything".to_owned(), false, "GET   "),
        ];
        for (method, target, is_apply, expected) in cases {
            assert_eq!(line(method, &target, is_apply), expected, "{target}");
        }
    }

    #[test]
    fn answers_are_counted_and_series_are_bounded() {
        let requests = Requests::default();
        let query = Query::default();
        for number in 0..METRIC_SERIES_MAX + 10 {
            let path = format!("/apis/g{number}/v1/things");
            let info = RequestInfo::parse(&Method::GET, &path, &query);
            requests.answered(&info, &query, false, 404, Duration::ZERO);
        }
        assert_eq!(requests.series.read().len(), METRIC_SERIES_MAX);
        let info = RequestInfo::parse(&Method::GET, "/apis/g0/v1/things", &query);
        requests.answered(&info, &query, false, 200, Duration::ZERO);
        let mut out = String::new();
        requests.render(&mut out);
        let wanted = "apiserver_request_total{code=\"200\",component=\"apiserver\",dry_run=\"\",group=\"g0\",resource=\"things\",scope=\"cluster\",subresource=\"\",verb=\"LIST\",version=\"v1\"} 1\n";
        assert!(out.contains(wanted), "{}", &out[..2000]);
        let pending = requests.begin(&info);
        assert_eq!(requests.under_way[0].load(Ordering::Relaxed), 1);
        drop(pending);
        assert_eq!(requests.under_way[0].load(Ordering::Relaxed), 0);
    }
}
