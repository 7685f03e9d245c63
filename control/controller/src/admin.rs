//! What changes something: the steps of a rotation of roots, over a unix socket that only the owner reaches.

use crate::authority::{Chain, Keys, Step};
use weft_control_ca::DropRoot;
use weft_runtime::http::{Answer, Method, Request, Routes, StatusCode};

/// `POST /ca/announce-root`, `/ca/switch-root`, `/ca/drop-root[?now=true]`.
pub(crate) fn routes(keys: &Keys) -> Routes {
    let step = |routes: Routes, path: &str, step: fn(&Request) -> Step| {
        let keys = keys.clone();
        routes.route(Method::POST, path, move |request| {
            let (keys, step) = (keys.clone(), step(&request));
            async move {
                match tokio::task::spawn_blocking(move || keys.rotate(step)).await {
                    Ok(Ok(())) => Answer::text(StatusCode::OK, "done\n"),
                    Ok(Err(error)) => Answer::text(StatusCode::CONFLICT, format!("{}\n", Chain(&error))),
                    Err(error) => {
                        Answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{}\n", Chain(&error)))
                    }
                }
            }
        })
    };
    let routes = step(Routes::new(), "/ca/announce-root", |_| Step::Announce);
    let routes = step(routes, "/ca/switch-root", |_| Step::Switch);
    step(routes, "/ca/drop-root", |request| {
        let now = request.parameter("now") == Some("true");
        Step::Drop(if now { DropRoot::AtOnce } else { DropRoot::WhenUnused })
    })
}
