//! A server, and beside it a bare axum handler that drops the body: what a request costs before the store has anything to do.
//!
//! ```console
//! cargo run --release -p annals-server --example baseline
//! wrk -t2 -c32 -d10s -s crates/annals-server/benches/append.lua URL/v1/streams/a/events?aggregateType=A
//! ```

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::io::Error;
use std::time::Duration;

use annals::Store;
use annals_server::{Server, stop_signal};
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;

fn main() -> Result<(), Error> {
    let server = Server::builder(Store::in_memory()).build().map_err(Error::other)?;
    let listener = std::net::TcpListener::bind("127.0.0.1:4281")?;
    println!("the server at http://{}", listener.local_addr()?);
    let (_stop, stopped) = stop_signal();
    let serving = std::thread::spawn(move || server.run(listener, stopped, Duration::from_secs(1)));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(bare())?;
    serving.join().map_err(|_| Error::other("the server panicked"))??;
    Ok(())
}

/// Serves a handler that reads the body, and does nothing with it.
async fn bare() -> Result<(), Error> {
    let router = Router::new().route(
        "/drop",
        post(|body: Bytes| async move {
            drop(body);
            StatusCode::CREATED
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:4282").await?;
    println!(
        "a handler that drops the body at http://{}/drop",
        listener.local_addr()?
    );
    axum::serve(listener, router).await
}
