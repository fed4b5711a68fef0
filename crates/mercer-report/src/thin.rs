//! Fewer points for the same picture.

/// Points in pixels beyond which a drawing is thinned.
pub(crate) const MOST: usize = 3000;

type Pixel = (f64, f64);

/// A curve with at most four points in each column of one pixel: the first, the least, the largest and the last, in
/// their order. Neither the outline nor an extreme changes.
pub(crate) fn curve(points: &[Pixel]) -> Vec<Pixel> {
    if points.len() <= MOST {
        return points.to_vec();
    }
    points.chunk_by(|a, b| a.0.floor() == b.0.floor()).flat_map(extremes).collect()
}

fn extremes(column: &[Pixel]) -> Vec<Pixel> {
    let by_y = |i: &usize, j: &usize| column[*i].1.total_cmp(&column[*j].1);
    let mut kept = vec![0, column.len() - 1];
    kept.extend((0..column.len()).min_by(by_y));
    kept.extend((0..column.len()).max_by(by_y));
    kept.sort_unstable();
    kept.dedup();
    kept.into_iter().map(|i| column[i]).collect()
}

/// A cloud of about [`MOST`] points: the least and the largest of each column of two pixels, and an even choice of all,
/// by position in the list. The outline stays, and so does the density within.
pub(crate) fn cloud(points: &[Pixel]) -> Vec<Pixel> {
    if points.len() <= MOST {
        return points.to_vec();
    }
    let mut order: Vec<usize> = (0..points.len()).collect();
    let column = |i: usize| (points[i].0 / 2.0).floor();
    order.sort_by(|&i, &j| column(i).total_cmp(&column(j)).then(points[i].1.total_cmp(&points[j].1)).then(i.cmp(&j)));
    let mut kept: Vec<usize> =
        order.chunk_by(|&i, &j| column(i) == column(j)).flat_map(|c| [c[0], c[c.len() - 1]]).collect();
    let leftmost = (0..points.len()).min_by(|&i, &j| points[i].0.total_cmp(&points[j].0));
    let rightmost = (0..points.len()).max_by(|&i, &j| points[i].0.total_cmp(&points[j].0));
    kept.extend(leftmost.into_iter().chain(rightmost));
    let room = MOST.saturating_sub(kept.len());
    kept.extend((0..room).map(|k| (k as u128 * points.len() as u128 / room as u128) as usize));
    kept.sort_unstable();
    kept.dedup();
    kept.into_iter().map(|i| points[i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize) -> Vec<Pixel> {
        (0..n).map(|i| (480.0 * i as f64 / n as f64, 100.0 + 90.0 * (i as f64 * 0.7).sin())).collect()
    }

    #[test]
    fn few_points_stay() {
        assert_eq!(curve(&wave(MOST)), wave(MOST));
        assert_eq!(cloud(&wave(MOST)), wave(MOST));
    }

    #[test]
    fn a_curve_keeps_ends_and_every_extreme() {
        let mut points = wave(200_000);
        points[123_456].1 = -7.0;
        points[77_777].1 = 500.0;
        let thin = curve(&points);
        assert!(thin.len() <= 4 * 481, "{}", thin.len());
        assert_eq!((thin[0], thin[thin.len() - 1]), (points[0], points[points.len() - 1]));
        for column in 0..480 {
            let range = |all: &[Pixel]| {
                let inside = all.iter().filter(|p| p.0.floor() == f64::from(column)).map(|p| p.1);
                inside.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), y| (a.min(y), b.max(y)))
            };
            assert_eq!(range(&thin), range(&points));
        }
        assert!(thin.windows(2).all(|w| w[0].0 <= w[1].0), "in the order of the data");
    }

    #[test]
    fn a_cloud_keeps_its_outline() {
        let mut points = wave(100_000);
        points[5] = (-3.0, 50.0);
        points[99_000] = (600.0, 51.0);
        points[40_000].1 = 300.0;
        let thin = cloud(&points);
        assert!(thin.len() <= MOST + 600, "{}", thin.len());
        for rare in [points[5], points[99_000], points[40_000]] {
            assert!(thin.contains(&rare), "{rare:?}");
        }
    }
}
