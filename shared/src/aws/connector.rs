//! The SDK's way to the network: hyper, HTTP/1.1 alone, which is all that the services we call
//! need, and the connections that are open shared by all of them. The SDK's own default brings
//! HTTP/2 and proxies along, which are a tenth of a function's size, and has a pool for each client.

use std::{error::Error, fmt, time::Duration};

use aws_smithy_runtime_api::client::{
    connection::{CaptureSmithyConnection, ConnectionMetadata},
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{
    client::legacy::{
        self, Client,
        connect::{CaptureConnection, HttpConnector as TcpConnector, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// For a TCP connection; what the SDK allows by default.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);
/// For all of a try, from the connection to the end of the answer: many times what any call of
/// ours takes.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// The same of DynamoDB, whose calls take milliseconds: a connection that hangs can be left, and the call
/// be made by another, before the authorizer's five seconds are over.
pub(super) const TABLE_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(super) struct Connector {
    client: Client<hyper_rustls::HttpsConnector<TcpConnector>, SdkBody>,
}

impl Connector {
    /// Trusts the authorities in `bundle`, which is PEM.
    pub(super) fn new(bundle: &[u8]) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut authorities = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(bundle) {
            authorities.add(authority?)?;
        }
        if authorities.is_empty() {
            return Err("it holds no certificate".into());
        }
        let tls = ClientConfig::builder().with_root_certificates(authorities).with_no_client_auth();
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            // Without it no idle connection is ever closed.
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { client })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Connector")
    }
}

impl HttpClient for Connector {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => {
                return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into())));
            }
        };
        let connection = capture_connection(&mut request);
        if let Some(captured) = request.extensions().get::<CaptureSmithyConnection>() {
            captured.set_connection_retriever(move || metadata(&connection));
        }
        let exchange = self.client.request(request);
        HttpConnectorFuture::new(async move {
            let response = exchange.await.map_err(connector_error)?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// By which the SDK has a connection not used again that has served it badly.
fn metadata(connection: &CaptureConnection) -> Option<ConnectionMetadata> {
    let connection = connection.clone();
    connection.connection_metadata().as_ref()?;
    let poison = move || {
        if let Some(connected) = connection.connection_metadata().as_ref() {
            connected.poison();
        }
    };
    Some(ConnectionMetadata::builder().proxied(false).poison_fn(poison).build())
}

/// Whatever goes wrong on the way may go right the next time, which is for the SDK to try; but not
/// a request that cannot be sent.
fn connector_error(error: legacy::Error) -> ConnectorError {
    let source = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
    if source.is_some_and(hyper::Error::is_user) {
        ConnectorError::user(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_vouches_for_nobody_is_refused_and_ours_is_not() {
        const BROKEN: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

        for bundle in ["", "no PEM", BROKEN] {
            assert!(Connector::new(bundle.as_bytes()).is_err(), "{bundle}");
        }
        assert!(Connector::new(crate::aws::connection::AUTHORITIES).is_ok());
    }
}
