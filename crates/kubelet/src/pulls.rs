//! Getting images: whether one is there, pulling it, and pausing after failures.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::EventKind;
use cri::{AuthConfig, ImageService, ImageSpec};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use podlife::backoff::{Backoffs, go_duration};
use podlife::image::{self, PullPolicy};
use podlife::keyring::Keyring;
use podlife::pod::{self, ContainerRef};
use podlife::security::ImageUser;
use podlife::status::StartError;
use tokio::sync::{Semaphore, oneshot};

use crate::events::Events;
use crate::limits::PULLS_MAX;

/// An image that is on the node.
#[derive(Clone, Debug)]
pub(crate) struct Present {
    /// What the runtime is told to run.
    pub(crate) image: String,
    /// Who it runs as.
    pub(crate) user: ImageUser,
}

/// How far the image of a container is.
#[derive(Debug)]
pub(crate) enum PullState {
    Present(Present),
    /// Being pulled; the pod is woken at the end.
    Pending,
    Failed(StartError, Option<Timestamp>),
}

type PullResult = Result<(Present, Pulled), cri::Error>;

#[derive(Debug)]
struct Pulled {
    took: Duration,
    waited: Duration,
    size: u64,
}

/// The pulls and pauses of one pod; lives in its worker.
#[derive(Debug, Default)]
pub(crate) struct PodPulls {
    backoffs: Backoffs,
    running: HashMap<String, oneshot::Receiver<PullResult>>,
    last_errors: HashMap<String, (String, Timestamp)>,
    /// Images that were fetched before the container that they are for was asked to start, by its name.
    ahead: HashMap<String, (String, Present)>,
}

/// See the module's text; one per node.
#[derive(Clone)]
pub(crate) struct Pulls {
    images: Arc<dyn ImageService>,
    events: Events,
    slots: Arc<Semaphore>,
    scope: task::Scope,
}

/// One container's wish for an image.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) reference: ContainerRef,
    pub(crate) container: &'a Container,
    pub(crate) secrets: &'a [Arc<Secret>],
    pub(crate) now: Timestamp,
}

impl PodPulls {
    /// Keeps the image of a container that is asked to start later.
    pub(crate) fn keep_ahead(&mut self, container: &Container, present: Present) {
        let image = container.image.clone().unwrap_or_default();
        self.ahead.insert(container.name.clone(), (image, present));
    }
}

impl Wish<'_> {
    fn image(&self) -> &str {
        self.container.image.as_deref().unwrap_or_default()
    }

    fn event(&self, events: &Events, kind: EventKind, reason: &str, message: String) {
        let place = (self.reference, self.container.name.as_str());
        events.container(self.pod, place, kind, reason, message);
    }
}

impl Pulls {
    pub(crate) fn new(images: Arc<dyn ImageService>, events: Events, scope: task::Scope) -> Self {
        Self { images, events, slots: Arc::new(Semaphore::new(PULLS_MAX)), scope }
    }

    /// Where the image of a container stands; starts a pull when one is due.
    pub(crate) async fn ensure(
        &self,
        state: &mut PodPulls,
        wish: Wish<'_>,
        wake: impl FnOnce() + Send + 'static,
    ) -> PullState {
        let name = &wish.container.name;
        if let Some((image, present)) = state.ahead.remove(name)
            && image == wish.image()
        {
            return PullState::Present(present);
        }
        if let Some(mut pull) = state.running.remove(name) {
            return match pull.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => {
                    state.running.insert(name.clone(), pull);
                    PullState::Pending
                }
                Err(oneshot::error::TryRecvError::Closed) => {
                    let error = cri::Error::Unavailable("the pull was given up".to_owned());
                    self.finish(state, wish, Err(error))
                }
                Ok(result) => self.finish(state, wish, result),
            };
        }
        self.check_or_start(state, wish, wake).await
    }

    async fn check_or_start(
        &self,
        state: &mut PodPulls,
        wish: Wish<'_>,
        wake: impl FnOnce() + Send + 'static,
    ) -> PullState {
        let image = wish.image().to_owned();
        let Some(parsed) = image::parse(&image) else {
            let message = format!(
                "Failed to apply default image tag \"{image}\": couldn't parse image name \
                 \"{image}\": invalid reference format"
            );
            wish.event(&self.events, EventKind::Warning, "InspectFailed", message.clone());
            wish.event(
                &self.events,
                EventKind::Warning,
                "Failed",
                "Error: InvalidImageName".into(),
            );
            return PullState::Failed(StartError::new("InvalidImageName", message), None);
        };
        let policy = image::pull_policy(wish.container);
        if policy != PullPolicy::Always
            && let Some(answer) = self.inspect(wish, policy).await
        {
            return answer;
        }
        let key = format!("{}_{image}", pod::uid(wish.pod));
        if let Some((error, failed_at)) = state.last_errors.get(&key)
            && let Some(waiting) = state.backoffs.waiting(&key, *failed_at, wish.now)
        {
            let message = format!("Back-off pulling image \"{image}\"");
            wish.event(&self.events, EventKind::Normal, "BackOff", message.clone());
            wish.event(
                &self.events,
                EventKind::Warning,
                "Failed",
                "Error: ImagePullBackOff".into(),
            );
            let error = StartError::new("ImagePullBackOff", format!("{message}: {error}"));
            return PullState::Failed(error, Some(waiting.until));
        }
        wish.event(
            &self.events,
            EventKind::Normal,
            "Pulling",
            format!("Pulling image \"{image}\""),
        );
        let mut keyring = Keyring::default();
        for secret in wish.secrets {
            keyring.add_secret(secret);
        }
        let credentials: Vec<AuthConfig> = keyring.lookup(&parsed).into_iter().cloned().collect();
        let spec =
            ImageSpec { image: image.clone(), user_specified_image: image, ..ImageSpec::default() };
        let recheck = policy == PullPolicy::IfNotPresent;
        state
            .running
            .insert(wish.container.name.clone(), self.spawn(spec, credentials, recheck, wake));
        PullState::Pending
    }

    /// The answer for an image that need not be pulled; `None` when it must be.
    async fn inspect(&self, wish: Wish<'_>, policy: PullPolicy) -> Option<PullState> {
        let image = wish.image();
        match self.images.image_status(&ImageSpec::named(image)).await {
            Ok(Some(found)) => {
                let message = format!("Container image \"{image}\" already present on machine");
                wish.event(&self.events, EventKind::Normal, "Pulled", message);
                Some(PullState::Present(present(&found)))
            }
            Ok(None) if policy == PullPolicy::Never => {
                let message =
                    format!("Container image \"{image}\" is not present with pull policy of Never");
                wish.event(&self.events, EventKind::Warning, "ErrImageNeverPull", message.clone());
                let failed = "Error: ErrImageNeverPull".to_owned();
                wish.event(&self.events, EventKind::Warning, "Failed", failed);
                Some(PullState::Failed(StartError::new("ErrImageNeverPull", message), None))
            }
            Ok(None) => None,
            Err(error) => {
                let message = format!("Failed to inspect image \"{image}\": {}", error.rpc_text());
                wish.event(&self.events, EventKind::Warning, "InspectFailed", message.clone());
                let failed = "Error: ImageInspectError".to_owned();
                wish.event(&self.events, EventKind::Warning, "Failed", failed);
                Some(PullState::Failed(StartError::new("ImageInspectError", message), None))
            }
        }
    }

    fn spawn(
        &self,
        spec: ImageSpec,
        credentials: Vec<AuthConfig>,
        recheck: bool,
        wake: impl FnOnce() + Send + 'static,
    ) -> oneshot::Receiver<PullResult> {
        let (sender, receiver) = oneshot::channel();
        let (images, slots) = (Arc::clone(&self.images), Arc::clone(&self.slots));
        self.scope.spawn_until_cancelled("image pull", async move {
            let result = pull(&*images, &slots, &spec, &credentials, recheck).await;
            // A pod that is gone no longer listens.
            let _nobody_waits = sender.send(result);
            wake();
        });
        receiver
    }

    fn finish(&self, state: &mut PodPulls, wish: Wish<'_>, result: PullResult) -> PullState {
        let image = wish.image();
        let key = format!("{}_{image}", pod::uid(wish.pod));
        match result {
            Ok((present, pulled)) => {
                let (took, waited) = (pulled.took, pulled.waited);
                let message = format!(
                    "Successfully pulled image \"{image}\" in {} ({} including waiting). Image size: {} bytes.",
                    go_duration(took),
                    go_duration(took + waited),
                    pulled.size,
                );
                wish.event(&self.events, EventKind::Normal, "Pulled", message);
                state.last_errors.remove(&key);
                PullState::Present(present)
            }
            Err(error) => {
                let text = error.rpc_text();
                let message = format!("Failed to pull image \"{image}\": {text}");
                wish.event(&self.events, EventKind::Warning, "Failed", message);
                let (reason, message) = classify(image, &error, text);
                wish.event(&self.events, EventKind::Warning, "Failed", format!("Error: {reason}"));
                state.backoffs.advance(&key, wish.now, wish.now);
                state.last_errors.insert(key.clone(), (format!("{reason}: {message}"), wish.now));
                let retry = state.backoffs.waiting(&key, wish.now, wish.now);
                // The next look turns the reason into ImagePullBackOff.
                let retry = retry.map(|_| wish.now + Duration::from_secs(1));
                PullState::Failed(StartError::new(reason, message), retry)
            }
        }
    }
}

fn classify(image: &str, error: &cri::Error, text: String) -> (&'static str, String) {
    let raw = error.to_string();
    if let Some(rest) = raw.strip_prefix(cri::error::REGISTRY_UNAVAILABLE) {
        let message =
            format!("image pull failed for {image} because the registry is unavailable{rest}");
        return ("RegistryUnavailable", message);
    }
    if let Some(rest) = raw.strip_prefix(cri::error::SIGNATURE_VALIDATION_FAILED) {
        let message =
            format!("image pull failed for {image} because the signature validation failed{rest}");
        return ("SignatureValidationFailed", message);
    }
    ("ErrImagePull", text)
}

fn present(image: &cri::Image) -> Present {
    Present {
        image: image.id.clone(),
        user: ImageUser { uid: image.uid, name: image.username.clone() },
    }
}

async fn pull(
    images: &dyn ImageService,
    slots: &Semaphore,
    spec: &ImageSpec,
    credentials: &[AuthConfig],
    recheck: bool,
) -> PullResult {
    let asked = tokio::time::Instant::now();
    let closed = |_| cri::Error::Unavailable("the kubelet is ending".to_owned());
    let _slot = slots.acquire().await.map_err(closed)?;
    let waited = asked.elapsed();
    let began = tokio::time::Instant::now();
    // Another pod may have pulled it while this one waited.
    let there = if recheck { images.image_status(spec).await? } else { None };
    let image = match there {
        Some(image) => image,
        None => {
            let id = pull_with_any(images, spec, credentials).await?;
            let pulled = ImageSpec::named(id.clone());
            let missing =
                || cri::Error::NotFound(format!("image {id} is not there after its pull"));
            images.image_status(&pulled).await?.ok_or_else(missing)?
        }
    };
    let pulled = Pulled { took: began.elapsed(), waited, size: image.size };
    Ok((present(&image), pulled))
}

/// Tries one set of credentials after the other and answers the last failure.
async fn pull_with_any(
    images: &dyn ImageService,
    spec: &ImageSpec,
    credentials: &[AuthConfig],
) -> Result<String, cri::Error> {
    let mut last = None;
    for auth in credentials {
        match images.pull_image(spec, Some(auth)).await {
            Ok(id) => return Ok(id),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error),
        None => images.pull_image(spec, None).await,
    }
}
