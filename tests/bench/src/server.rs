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
    net::{TcpListener, TcpStream},
    runtime::{Builder, Handle},
    task::JoinHandle,
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

/// Takes connections until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// On a free port, and on the thread of `handle`.
    pub(crate) fn start<F>(handle: &Handle, serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let _context = handle.enter();
        let listener = TcpListener::from_std(socket).unwrap();
        let accepting = handle.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tokio::spawn(serve(stream));
            }
        });
        Self { address, accepting }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
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
