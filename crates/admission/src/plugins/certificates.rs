//! The four plugins of `certificates.k8s.io`: who may approve, sign and attest for which signer, and
//! which subjects nobody may ask for.

use api::status::Status;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use crate::{Lookup, Operation, Plugin, Request, tree};

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";
const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";

/// `CertificateApproval`: approving needs the right to approve for the signer.
#[derive(Debug)]
pub struct CertificateApproval;

/// `CertificateSigning`: issuing needs the right to sign for the signer.
#[derive(Debug)]
pub struct CertificateSigning;

/// `ClusterTrustBundleAttest`: publishing a signer's anchors needs the right to attest for it.
#[derive(Debug)]
pub struct ClusterTrustBundleAttest;

/// `CertificateSubjectRestriction`: nobody asks for `system:masters`.
#[derive(Debug)]
pub struct CertificateSubjectRestriction;

/// Whether the user has a right on a signer, or on all of its domain.
fn may(request: &Request<'_>, cluster: &dyn Lookup, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    [signer, &format!("{domain}/*")]
        .iter()
        .any(|name| cluster.may(request.user, verb, GROUP, "signers", "", name))
}

impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn validate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        let approves = request.operation == Operation::Update
            && request.about(GROUP, REQUESTS)
            && request.subresource == "approval";
        let signer = tree::text(request.old_object(), "/spec/signerName");
        if approves && !may(request, cluster, "approve", signer) {
            return Err(request.forbid(format!(
                "user not permitted to approve requests with signerName \"{signer}\""
            )));
        }
        Ok(())
    }
}

impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn validate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        let (new, old) = (&request.object, request.old_object());
        let signs = request.operation == Operation::Update
            && request.about(GROUP, REQUESTS)
            && request.subresource == "status"
            && !(tree::same_at(new, old, "/status/certificate")
                && tree::same_at(new, old, "/status/conditions"));
        let signer = tree::text(old, "/spec/signerName");
        if signs && !may(request, cluster, "sign", signer) {
            return Err(request.forbid(format!(
                "user not permitted to sign requests with signerName \"{signer}\""
            )));
        }
        Ok(())
    }
}

impl Plugin for ClusterTrustBundleAttest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }

    fn validate(&self, request: &mut Request<'_>, cluster: &dyn Lookup) -> Result<(), Status> {
        let writes = matches!(request.operation, Operation::Create | Operation::Update);
        if !writes || !request.about(GROUP, "clustertrustbundles") {
            return Ok(());
        }
        let signer = tree::text(&request.object, "/spec/signerName");
        let collects = request.operation == Operation::Update
            && only_collectors_fields_differ(&request.object, request.old_object());
        if signer.is_empty() || collects || may(request, cluster, "attest", signer) {
            return Ok(());
        }
        Err(request.forbid(format!("user not permitted to attest for signerName \"{signer}\"")))
    }
}

impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn validate(&self, request: &mut Request<'_>, _: &dyn Lookup) -> Result<(), Status> {
        if request.operation != Operation::Create
            || !request.is(GROUP, REQUESTS)
            || tree::text(&request.object, "/spec/signerName") != API_CLIENT
        {
            return Ok(());
        }
        let subject = subject_of(&request.object)
            .map_err(|why| request.forbid(format!("failed to parse CSR: {why}")))?;
        if subject.organizations.iter().any(|group| group == "system:masters") {
            return Err(request.forbid(format!(
                "use of {API_CLIENT} signer with system:masters group is not allowed"
            )));
        }
        Ok(())
    }
}

/// Whether nothing but owners and finalizers changed: what the garbage collector does.
pub fn only_collectors_fields_differ(new: &Value, old: &Value) -> bool {
    let strip = |object: &Value| {
        let mut object = object.clone();
        for field in
            ["ownerReferences", "finalizers", "resourceVersion", "generation", "managedFields"]
        {
            api::meta::remove(&mut object, field);
        }
        object
    };
    tree::same(&strip(new), &strip(old))
}

/// The subject that a signing request asks for.
pub(super) struct Subject {
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
}

/// Reads the subject out of `spec.request` (base64 of PEM).
pub(super) fn subject_of(object: &Value) -> Result<Subject, String> {
    let pem =
        STANDARD.decode(tree::text(object, "/spec/request")).map_err(|error| error.to_string())?;
    let not_pem = || "PEM block type must be CERTIFICATE REQUEST".to_owned();
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).map_err(|_| not_pem())?;
    if pem.label != "CERTIFICATE REQUEST" {
        return Err(not_pem());
    }
    let (_, parsed) =
        X509CertificationRequest::from_der(&pem.contents).map_err(|error| error.to_string())?;
    let name = &parsed.certification_request_info.subject;
    let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        attribute.as_str().unwrap_or_default().to_owned()
    };
    Ok(Subject {
        common_name: name.iter_common_name().map(text).last().unwrap_or_default(),
        organizations: name.iter_organization().map(text).collect(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Case, Cluster};

    /// A signing request for a subject, as `openssl req` makes it.
    pub(crate) fn signing_request(organization: &str, name: &str, signer: &str) -> Value {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        json!({"metadata": {"name": "r"}, "spec": {"signerName": signer, "request": STANDARD.encode(pem)}})
    }

    #[test]
    fn approving_and_signing_need_the_signers_right() {
        let cluster =
            Cluster::default().allowing("approve signers a.b/c").allowing("sign signers d.e/*");
        let request =
            |signer: &str| json!({"metadata": {"name": "r"}, "spec": {"signerName": signer}});
        let signed = |signer: &str| {
            json!({"metadata": {"name": "r"}, "spec": {"signerName": signer},
            "status": {"certificate": "eA=="}})
        };
        let approve = |signer| {
            Case::update(REQUESTS, request(signer), request(signer))
                .at("approval")
                .refusal(&CertificateApproval, &cluster)
        };
        assert_eq!(approve("a.b/c"), "");
        assert!(
            approve("d.e/f")
                .ends_with("user not permitted to approve requests with signerName \"d.e/f\"")
        );
        let sign = |signer| {
            Case::update(REQUESTS, request(signer), signed(signer))
                .at("status")
                .refusal(&CertificateSigning, &cluster)
        };
        assert_eq!(sign("d.e/f"), "");
        assert!(
            sign("a.b/c")
                .ends_with("user not permitted to sign requests with signerName \"a.b/c\"")
        );
        let same = Case::update(REQUESTS, signed("x/y"), signed("x/y")).at("status");
        assert_eq!(same.refusal(&CertificateSigning, &cluster), "");
    }

    #[test]
    fn attesting_needs_the_signers_right() {
        let cluster = Cluster::default().allowing("attest signers a.b/c");
        let bundle =
            |signer: &str| json!({"metadata": {"name": "b"}, "spec": {"signerName": signer}});
        for (signer, allowed) in [("", true), ("a.b/c", true), ("a.b/d", false)] {
            let refusal = Case::create("clustertrustbundles", bundle(signer))
                .refusal(&ClusterTrustBundleAttest, &cluster);
            assert_eq!(refusal.is_empty(), allowed, "{refusal}");
        }
        let mut owned = bundle("a.b/d");
        owned["metadata"]["finalizers"] = json!(["x/y"]);
        let collected = Case::update("clustertrustbundles", owned, bundle("a.b/d"));
        assert_eq!(collected.refusal(&ClusterTrustBundleAttest, &cluster), "");
    }

    #[test]
    fn nobody_asks_for_masters() {
        let refusal = |object| {
            Case::create(REQUESTS, object)
                .refusal(&CertificateSubjectRestriction, &Cluster::default())
        };
        assert_eq!(refusal(signing_request("devs", "alice", API_CLIENT)), "");
        assert_eq!(refusal(signing_request("system:masters", "alice", "a.b/c")), "");
        assert!(
            refusal(signing_request("system:masters", "alice", API_CLIENT))
                .ends_with("use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed")
        );
        let broken = json!({"metadata": {"name": "r"}, "spec": {"signerName": API_CLIENT, "request": "eA=="}});
        assert!(
            refusal(broken)
                .contains("failed to parse CSR: PEM block type must be CERTIFICATE REQUEST")
        );
    }
}
