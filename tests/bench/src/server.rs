//! What both stand-ins are: HTTP/1.1 on a port of loopback, on a thread of its own.

use std::{convert::Infallible, net::SocketAddr, sync::mpsc, thread};

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    runtime::{Builder, Handle},
};

/// A thread that runs whatever is spawned on it.
pub(crate) fn thread(name: &str) -> Handle {
    let (tell, told) = mpsc::channel();
    let run = move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        tell.send(runtime.handle().clone()).unwrap();
        runtime.block_on(std::future::pending::<()>());
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).unwrap();
    told.recv().unwrap()
}

/// A listener on a free port, usable on the thread of `handle`.
pub(crate) fn listen(handle: &Handle) -> (TcpListener, SocketAddr) {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    let _context = handle.enter();
    (TcpListener::from_std(socket).unwrap(), address)
}

/// Answers the requests of one connection until it is closed, however that is.
pub(crate) async fn serve<S, F>(stream: S, answer: impl Fn(Request<Incoming>) -> F)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(request).await));
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}
