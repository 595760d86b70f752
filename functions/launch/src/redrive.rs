//! A run that goes on from where it failed.

use relay::{
    aws::step_functions::Redriven,
    domain::{error::Error, execution::Execution},
};
use tracing::info;

use crate::launcher::Launcher;

impl Launcher {
    /// Has Step Functions redrive a run, unless it has: asked first, since a redrive that was made before and has
    /// failed since would be made once more.
    pub(crate) async fn redrive(&self, run: &Execution) -> Result<(), Error> {
        let id = &run.execution_id;
        if self.is_redriven(run).await? {
            return Ok(());
        }
        match self.step_functions.redrive(run).await? {
            // Its event says that it runs; where that is lost, `sweep` asks here again.
            Redriven::Accepted => {
                info!("redriven execution {id}");
                Ok(())
            }
            // It may be as another attempt has made it.
            Redriven::Refused(_) if self.is_redriven(run).await? => Ok(()),
            Redriven::Refused(reason) => {
                info!("execution {id} is not redriven");
                self.settle.refuse_redrive(run, &reason).await
            }
        }
    }

    /// Whether it was redriven since, by Step Functions' word, by which its row is settled then.
    async fn is_redriven(&self, run: &Execution) -> Result<bool, Error> {
        let (id, arn) = (&run.execution_id, run.execution_arn());
        match self.step_functions.describe(id, &arn).await {
            Ok(Some(observed)) if observed.redrive_count > run.redrive_count => {
                self.settle.apply(&observed).await?;
                Ok(true)
            }
            Ok(_) | Err(Error::Forbidden(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
