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
pub(crate) struct Knock;

impl Intercept for Knock {
    fn name(&self) -> &'static str {
        "Knock"
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
        net::{TcpListener, TcpStream},
        thread,
    };

    use aws_config::{BehaviorVersion, Region, SdkConfig};
    use aws_sdk_sqs::{
        Client,
        config::{Credentials, SharedCredentialsProvider, SharedHttpClient},
    };

    use crate::{
        aws::{AUTHORITIES, connector::Connector, on_demand},
        queue::Queue,
    };

    #[tokio::test]
    async fn it_asks_once_and_for_nothing_whatever_the_answer() {
        const UNAVAILABLE: &[u8] =
            b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

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
        let queue = Queue::new(on_demand(&config, Client::new), "http://queue".to_owned());

        let asked = thread::spawn(move || {
            let mut asked = Vec::new();
            while let Ok((mut stream, _)) = listener.accept() {
                let mut request = vec![0; 4_096];
                let length = stream.read(&mut request).unwrap();
                stream.write_all(UNAVAILABLE).unwrap();
                request.truncate(length);
                if request.is_empty() {
                    break;
                }
                asked.push(String::from_utf8(request).unwrap());
            }
            asked
        });
        queue.prepare().await;
        // Nothing is said to the listener any more.
        drop(TcpStream::connect(address).unwrap());
        let asked = asked.join().unwrap();

        assert_eq!(asked, [format!("GET /ping HTTP/1.1\r\nhost: {address}\r\n\r\n")]);
    }
}
