//! The API as OpenAPI, made from the functions that answer.

use axum::Json;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi, SecurityRequirement};
use utoipa::{Modify, OpenApi as _};

use super::sign_in::COOKIE_NAME;
use super::{about, detect, history, session, verdicts_zip};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "faster-rcnn serve",
        description = "Finds objects in images and keeps what it found. Errors are \
            {\"error\": \"A sentence.\"}. Times are UTC. Boxes are [x1, y1, x2, y2] in pixels of the image."
    ),
    paths(
        detect::detect,
        history::list, history::one, history::verdict, history::image, history::reference, history::drawn,
        history::thumbnail, history::statistics, history::fields, verdicts_zip::verdicts,
        session::get, session::post, session::delete,
        about::model, about::healthz, about::readyz, about::metrics,
    ),
    modifiers(&SignInSchemes),
)]
struct Described;

/// A token as a bearer, or the cookie.
struct SignInSchemes;

impl Modify for SignInSchemes {
    fn modify(&self, api: &mut OpenApi) {
        let components = api.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        let cookie = ApiKey::Cookie(ApiKeyValue::new(COOKIE_NAME));
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(cookie));
        let none: [&str; 0] = [];
        let schemes = ["token", "cookie"].map(|scheme| SecurityRequirement::new(scheme, none));
        api.security = Some(schemes.to_vec());
    }
}

/// `GET /openapi.json`
pub async fn openapi() -> Json<OpenApi> {
    Json(Described::openapi())
}
