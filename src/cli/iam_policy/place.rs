//! Partition, region and account of resources, and their ARNs.

/// Where resources are. What is not known is `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    partition: String,
    region: String,
    account: String,
}

impl Place {
    /// Creates a place. `role` is the ARN of the role whose account it is.
    pub(super) fn new(region: Option<String>, account: Option<String>, role: Option<&str>) -> Self {
        let part = |number| role.and_then(|role| role.split(':').nth(number));
        let account = part(4).map(str::to_owned).or(account);
        let partition = match &region {
            Some(region) => partition(region),
            None => part(1).unwrap_or("aws"),
        };
        Self {
            partition: partition.to_owned(),
            region: region.unwrap_or_else(|| "*".to_owned()),
            account: account.unwrap_or_else(|| "*".to_owned()),
        }
    }

    /// Returns the ARN of a resource of a service.
    pub(super) fn arn(&self, service: &str, resource: &str) -> String {
        let Self {
            partition,
            region,
            account,
        } = self;
        format!("arn:{partition}:{service}:{region}:{account}:{resource}")
    }

    /// Returns the ARN of a managed node or a task of ECS by its id.
    pub(super) fn node(&self, id: &str) -> String {
        if let Some(task) = id.strip_prefix("ecs:") {
            // The cluster may contain `_`; the last part is the container.
            let mut parts = task.rsplitn(3, '_').skip(1);
            let (task, cluster) = (parts.next(), parts.next());
            let (task, cluster) = (task.unwrap_or("*"), cluster.unwrap_or("*"));
            return self.arn("ecs", &format!("task/{cluster}/{task}"));
        }
        match id.starts_with("mi-") {
            true => self.arn("ssm", &format!("managed-instance/{id}")),
            false => self.arn("ec2", &format!("instance/{id}")),
        }
    }

    /// Returns the ARN of a user of the databases of RDS in the region, or in that of the databases if
    /// it is another one. Their resource ids are not known.
    pub(super) fn database_user(&self, user: &str, region: Option<String>) -> String {
        let place = match region {
            None => self.clone(),
            Some(region) => Self {
                partition: partition(&region).to_owned(),
                region,
                account: self.account.clone(),
            },
        };
        let user = user.chars().map(|c| match c {
            '*' | '?' | '$' => format!("${{{c}}}"),
            c => c.to_string(),
        });
        let user: String = user.collect();
        place.arn("rds-db", &format!("dbuser:*/{user}"))
    }

    /// Returns the ARN of a cluster of ECS by its name or ARN.
    pub(super) fn cluster(&self, name: &str) -> String {
        match name.starts_with("arn:") {
            true => name.to_owned(),
            false => self.arn("ecs", &format!("cluster/{name}")),
        }
    }

    /// Returns the ARN of a document by its name or ARN. Those of AWS have no account.
    pub(super) fn document(&self, name: &str) -> String {
        if name.starts_with("arn:") {
            return name.to_owned();
        }
        let lower = name.to_ascii_lowercase();
        let is_of_aws = OF_AWS.iter().any(|prefix| lower.starts_with(prefix));
        match is_of_aws {
            true => {
                let account = String::new();
                let place = Self {
                    account,
                    ..self.clone()
                };
                place.arn("ssm", &format!("document/{name}"))
            }
            false => self.arn("ssm", &format!("document/{name}")),
        }
    }
}

/// Returns the partition of a region.
fn partition(region: &str) -> &'static str {
    let mut known = PARTITIONS.iter();
    let found = known.find(|(prefix, _)| region.starts_with(prefix));
    found.map_or("aws", |(_, partition)| partition)
}

/// Prefixes of regions, and their partitions; all others are `aws`.
const PARTITIONS: [(&str, &str); 7] = [
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
    ("eusc-", "aws-eusc"),
];

/// Names of documents begin with these, in any case, only if they belong to AWS.
const OF_AWS: [&str; 3] = ["aws", "amazon", "amzn"];

#[cfg(test)]
mod tests {
    use super::*;

    fn place(region: &str) -> Place {
        Place::new(
            Some(region.to_owned()),
            Some("111122223333".to_owned()),
            None,
        )
    }

    #[test]
    fn nodes_of_each_kind_have_their_arn() {
        let place = place("eu-west-1");
        for (id, arn) in [
            ("i-01", "arn:aws:ec2:eu-west-1:111122223333:instance/i-01"),
            (
                "mi-01",
                "arn:aws:ssm:eu-west-1:111122223333:managed-instance/mi-01",
            ),
            (
                "ecs:my_cluster_0af1_0af1-9",
                "arn:aws:ecs:eu-west-1:111122223333:task/my_cluster/0af1",
            ),
        ] {
            assert_eq!(place.node(id), arn);
        }
    }

    #[test]
    fn users_of_databases_are_in_the_region_of_their_database() {
        for (user, region, arn) in [
            (
                "app",
                None,
                "arn:aws:rds-db:eu-west-1:111122223333:dbuser:*/app",
            ),
            (
                "a*b?c$d",
                Some("cn-north-1".to_owned()),
                "arn:aws-cn:rds-db:cn-north-1:111122223333:dbuser:*/a${*}b${?}c${$}d",
            ),
        ] {
            assert_eq!(place("eu-west-1").database_user(user, region), arn);
        }
    }

    #[test]
    fn documents_of_aws_have_no_account() {
        let place = place("eu-west-1");
        for (name, arn) in [
            (
                "AWS-StartSSHSession",
                "arn:aws:ssm:eu-west-1::document/AWS-StartSSHSession",
            ),
            (
                "Our-Db",
                "arn:aws:ssm:eu-west-1:111122223333:document/Our-Db",
            ),
            (
                "arn:aws:ssm:us-east-1:444455556666:document/Shared",
                "arn:aws:ssm:us-east-1:444455556666:document/Shared",
            ),
        ] {
            assert_eq!(place.document(name), arn);
        }
    }

    #[test]
    fn the_region_decides_on_the_partition_and_the_role_on_the_account() {
        for (region, partition) in [
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-east-1", "aws"),
        ] {
            let arn = place(region).node("i-01");
            assert!(
                arn.starts_with(&format!("arn:{partition}:ec2:{region}:")),
                "{arn}"
            );
        }
        let role = "arn:aws-cn:iam::444455556666:role/r";
        let place = Place::new(None, Some("111122223333".to_owned()), Some(role));
        let arn = place.node("i-01");
        assert_eq!(arn, "arn:aws-cn:ec2:*:444455556666:instance/i-01");
    }
}
