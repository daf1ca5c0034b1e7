"""The analogseeker recipe's data: a domain corpus becomes training and test rows about analog circuits."""
