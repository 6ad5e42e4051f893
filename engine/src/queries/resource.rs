//! One resource by its key.

use lifeline_projections::as_of;
use lifeline_projections::fact::ResourceKey;
use lifeline_projections::fold::Resource;
use lifeline_store::Disk;

use super::{At, Dated, Error, Queries, When, blocking, resource_at};

impl<D: Disk> Queries<D> {
    /// The state of one resource.
    ///
    /// # Errors
    /// When nothing is known of it, or the state is not reached or not known.
    pub async fn resource(&self, key: ResourceKey, when: When) -> Result<Dated<At<Resource>>, Error> {
        let (offset, resource, unix_nanos) = match self.reach(when).await? {
            None => self.view.read(|projection| {
                let resource = projection.resource(&key.source, &key.subject);
                (projection.watermark(), resource, projection.ground().folded_unix_nanos)
            }),
            Some(end) => {
                let (view, asked) = (self.view.clone(), key.clone());
                let read = move || {
                    let log = view.log();
                    let resource = resource_at(&view, &log, &asked, end)?;
                    let unix_nanos = resource.as_ref().map_or(Ok(0), |_| as_of::time(&log, end))?;
                    Ok((end, resource, unix_nanos))
                };
                blocking(read).await?
            }
        };
        let item = resource.ok_or_else(|| Error::UnknownResource { key: Box::new(key) })?;
        Ok(Dated { answer: At { offset, item }, unix_nanos })
    }
}
