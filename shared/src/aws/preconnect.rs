//! How a connection to a service is opened before there is anything to ask it.

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{
                BeforeSerializationInterceptorContextMut, BeforeTransmitInterceptorContextMut,
            },
        },
        orchestrator::HttpRequest,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{config_bag::ConfigBag, retry::RetryConfig};

/// Makes of any call one to the same endpoint that asks for nothing, needs no permission, and is
/// made once: `GET /ping`, which AWS's services answer to whoever asks. All that the real call needs has
/// been done once then, too.
#[derive(Debug)]
pub(crate) struct Preconnect;

impl Intercept for Preconnect {
    fn name(&self) -> &'static str {
        "Preconnect"
    }

    fn modify_before_serialization(
        &self,
        _: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        settings.interceptor_state().store_put(RetryConfig::disabled());
        Ok(())
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let ping = format!("{}/ping", request.uri().trim_end_matches('/'));
        *request = HttpRequest::get(ping)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{SocketAddr, TcpListener, TcpStream},
        thread::{self, JoinHandle},
        time::Duration,
    };

    use aws_config::{BehaviorVersion, Region, SdkConfig};
    use aws_sdk_sqs::{
        Client,
        config::{Credentials, SharedCredentialsProvider, SharedHttpClient},
    };
    use tokio::task::spawn_blocking;

    use crate::aws::{
        connection::{AUTHORITIES, on_demand},
        connector::Connector,
        queue::{LaunchMessage, Queue},
    };

    /// A queue of a service that gives this answer to everything, and what it is asked on each
    /// connection until one is closed without a word.
    fn queue_of(answer: &'static str) -> (Queue, SocketAddr, JoinHandle<Vec<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let credentials = Credentials::new("an-id", "a-secret", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .endpoint_url(format!("http://{address}"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(SharedHttpClient::new(Connector::new(AUTHORITIES).unwrap()))
            .build();
        let asked = thread::spawn(move || {
            let mut connections = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().unwrap();
                let mut requests = Vec::new();
                let mut request = vec![0; 4_096];
                while let Ok(length @ 1..) = stream.read(&mut request) {
                    requests.push(String::from_utf8_lossy(&request[..length]).into_owned());
                    stream.write_all(answer.as_bytes()).unwrap();
                }
                if requests.is_empty() {
                    return connections;
                }
                connections.push(requests);
            }
        });
        (Queue::new(on_demand(&config, Client::new), "http://queue".to_owned()), address, asked)
    }

    #[tokio::test]
    async fn it_asks_once_and_for_nothing_whatever_the_answer() {
        let (queue, address, asked) =
            queue_of("HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");

        queue.warm_up().await;
        drop(queue);
        drop(TcpStream::connect(address).unwrap());

        let ping = format!("GET /ping HTTP/1.1\r\nhost: {address}\r\n\r\n");
        assert_eq!(asked.join().unwrap(), [[ping]]);
    }

    #[tokio::test]
    async fn the_connection_is_used_again_although_the_answer_is_none_to_the_call() {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nhealthy",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        ] {
            let (queue, address, asked) = queue_of(answer);
            let message = LaunchMessage::of("mcp-echo-1".parse().unwrap());

            queue.warm_up().await;
            queue.enqueue_hint(&message, &"somebody".to_owned().into(), Duration::ZERO).await;
            drop(queue);
            drop(TcpStream::connect(address).unwrap());

            // Beside it, since what closes the connection runs on this thread.
            let connections = spawn_blocking(|| asked.join().unwrap()).await.unwrap();
            assert!(connections[0].len() > 1, "{answer}: {connections:?}");
            assert!(connections[0][1].starts_with("POST / "), "{connections:?}");
        }
    }
}
