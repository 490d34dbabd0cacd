//! Admission as the write pipeline sees it: the pure plugins first, then whoever must be asked.

use std::sync::Arc;

use admission::{Lookup, PLUGINS, Request, User};
use api::object::Object;
use api::status::Status;
use authz::Attributes;

use crate::call::Call;
use crate::server::Server;

impl Lookup for Server {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.caches.place(group, plural).get(namespace, name)
    }

    fn list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Object>> {
        self.caches.place(group, plural).list(namespace, |_| true)
    }

    fn may(
        &self,
        user: &User,
        verb: &str,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> bool {
        let asked = Attributes {
            user: &user.name,
            groups: &user.groups,
            extra: Some(&user.extra),
            verb,
            is_resource: true,
            group,
            version: "*",
            resource: plural,
            namespace,
            name,
            ..Attributes::default()
        };
        self.authorize(&asked).is_ok()
    }
}

impl Server {
    pub(crate) async fn admit_mutating(
        &self,
        call: &Call,
        request: &mut Request<'_>,
    ) -> Result<(), Status> {
        for plugin in PLUGINS {
            plugin.mutate(request, self)?;
        }
        self.send_warnings(call, request);
        Ok(())
    }

    pub(crate) async fn admit_validating(
        &self,
        call: &Call,
        request: &mut Request<'_>,
    ) -> Result<(), Status> {
        for plugin in PLUGINS {
            plugin.validate(request, self)?;
        }
        self.send_warnings(call, request);
        Ok(())
    }

    fn send_warnings(&self, call: &Call, request: &mut Request<'_>) {
        for warning in request.warnings.drain(..) {
            call.warn(warning);
        }
    }
}
